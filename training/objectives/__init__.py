# SPDX-License-Identifier: Apache-2.0
"""What each system learns by: one file a published training method, and the registry."""
