#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
sleep 1000
