# SPDX-License-Identifier: Apache-2.0
"""The one training loop: settings, steps, saved states, validation, what is shown of it."""
