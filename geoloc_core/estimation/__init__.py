# SPDX-License-Identifier: Apache-2.0
"""From likelihoods and sensors to a pose with a covariance."""
