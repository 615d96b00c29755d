# SPDX-License-Identifier: Apache-2.0
"""Robots that drive through the world: routes, motion, and sensors with real faults."""
