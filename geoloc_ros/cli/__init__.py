# SPDX-License-Identifier: Apache-2.0
"""The geoloc command, one module a subcommand."""
