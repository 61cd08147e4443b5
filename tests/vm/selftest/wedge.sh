#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No processor answers any more; only who watches from outside can end this.
insmod "$HMM_MODULES/selftest.ko" what=wedge
