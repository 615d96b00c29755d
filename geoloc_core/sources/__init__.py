# SPDX-License-Identifier: Apache-2.0
"""One frame in, one pose measurement out."""
