# SPDX-License-Identifier: Apache-2.0
"""Ray casting and shading of a city: pictures with exact depth and labels."""
