#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# For --self-test.
sleep 1000
