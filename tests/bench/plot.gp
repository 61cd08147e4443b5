# SPDX-License-Identifier: MIT
# gnuplot -c plot.gp ROWS PNG: how well each row does; 1 is the reference, right of it is better.
# A row that counts time is turned over, so that right is better for all; the cross is the mark.
rows = ARG1
set datafile separator "\t"
stats rows using 5 nooutput
n = STATS_records
set terminal png noenhanced size 1500, 60 + 22 * n font ",10"
set output ARG2
set logscale x 2
set xrange [1.0/64:16]
set yrange [n - 0.5:-0.5]
set xlabel "times as good as the reference (logarithmic); bars: quartiles, x: the mark"
set lmargin 105
set grid xtics
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb "#607890" lw 2
set style data points
unset key
good(kind, v) = kind eq ">=" ? v : 1 / v
colour(kind, mark, v) = mark == 0 ? 0x7890a8 : \
	(kind eq ">=" ? v >= mark : v <= mark) ? 0x208040 : 0xd86020
plot rows using (good(strcol(3), $5)):0:(good(strcol(3), $6)):(good(strcol(3), $7)):\
	(colour(strcol(3), $4, $5)):ytic(strcol(1)." / ".strcol(2)) \
	with xerrorbars pt 7 ps 1.2 lc rgb variable, \
	rows using ($4 == 0 ? 1/0 : good(strcol(3), $4)):0 with points pt 2 ps 1.3 lc rgb "black"
