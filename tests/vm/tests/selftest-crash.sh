#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# For --self-test.
echo c >/proc/sysrq-trigger
