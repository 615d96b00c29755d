# SPDX-License-Identifier: Apache-2.0
"""Files as publishers of data sets write them, read and written in one place.

Only what a file says; what it means in geoloc's conventions is the business of the readers
(`training.datasets`), the bag tools and the writers of `simulation.layouts` that share this.
"""
