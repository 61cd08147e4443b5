#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# For --self-test.
insmod "$HMM_MODULES/selftest.ko"
