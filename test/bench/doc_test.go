// Package bench measures the built program from the outside, each figure as a
// ratio to a bare floor of the same run: what the machine needs for the same
// work without a connector around it.
//
//	xfloor        our time / the floor's time
//	xfirst        a repeated push / the first
//	ns/department time per department of a full push
//	peakMB        the program's largest resident set
//
// `make bench` runs all of it; BENCH_MILLION=1 adds the million.
package bench
