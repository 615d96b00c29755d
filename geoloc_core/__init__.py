# SPDX-License-Identifier: Apache-2.0
"""geoloc: where am I on the map, which way do I face, and how sure am I?"""

__version__ = '0.1.0'
