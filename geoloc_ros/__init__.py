# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 coat of geoloc: node, bag tools and the geoloc command."""
