#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
insmod "$HMM_MODULES/selftest.ko" what=lockorder
