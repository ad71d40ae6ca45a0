package main

import "testing"

const printed = `goos: linux
pkg: example.test/journal
BenchmarkHop-2       	     300	   1196021 ns/op	       789.0 p50-µs	      2100 p99-µs
BenchmarkHopBatch-2  	     300	   8396021 ns/op	      8400 p50-µs	     12100 p99-µs
BenchmarkAlone       	      30	  43900000 ns/op
PASS
`

func TestFigure(t *testing.T) {
	for name, c := range map[string]struct {
		benchmark, unit string
		want            float64
		fails           bool
	}{
		"mean":                                   {benchmark: "BenchmarkHop", unit: "ns/op", want: 1196021},
		"reported metric":                        {benchmark: "BenchmarkHop", unit: "p50-µs", want: 789},
		"another whose name begins alike":        {benchmark: "BenchmarkHopBatch", unit: "p50-µs", want: 8400},
		"on one processor it has no number":      {benchmark: "BenchmarkAlone", unit: "ns/op", want: 43900000},
		"a unit that it does not report":         {benchmark: "BenchmarkAlone", unit: "p50-µs", fails: true},
		"a benchmark that was skipped or failed": {benchmark: "BenchmarkGone", unit: "ns/op", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := figure([]byte(printed), c.benchmark, c.unit)
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   float64
	}{
		"of none":  {nil, 0},
		"of one":   {[]float64{3}, 3},
		"unsorted": {[]float64{9, 1, 5}, 5},
		"of two":   {[]float64{1, 2}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := median(c.values); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestSpell(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{789, "p50-µs", "789 µs"}, {8400, "p50-µs", "8.4 ms"}, {193.4, "p50-ms", "193.4 ms"}, {5.94e9, "ns/op", "5.94 s"}, {12345, "cpu-ms", "12.35 s"}, {143.7, "peak-MiB", "144 MiB"},
		{57.6, "RSS-MiB", "58 MiB"}, {0.351, "CPU-%", "0.35 %"},
	} {
		if got := spell(c.value, c.unit); got != c.want {
			t.Errorf("%v %s: got %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}
