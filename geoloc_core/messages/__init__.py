# SPDX-License-Identifier: Apache-2.0
"""ROS messages as plain objects: what is in them, read without ROS (rclpy or rosbags alike)."""
