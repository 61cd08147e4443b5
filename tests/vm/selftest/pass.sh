#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
true
