# SPDX-License-Identifier: Apache-2.0
"""What is recognised in a picture: local features, and one descriptor of the whole of it."""
