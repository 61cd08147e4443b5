#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# For --self-test.
true
