# SPDX-License-Identifier: Apache-2.0
"""A rendered world: city, cameras and sensors with exact truth."""
