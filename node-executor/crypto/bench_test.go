package crypto_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
)

// What everything but the generation of keys costs, on a cluster of a single node's size and on one ten times as large.
// The keys that RSA needs come from the cache, where a first run puts them.
func BenchmarkRegenerate(b *testing.B) {
	for _, size := range []int{1, 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c := fixture.New(b, fixture.Options{Size: size, Seed: 1, Name: "seed", NewKey: cryptotest.NewKeys("seed").Make})
				config := c.Config(b)
				fresh := cryptotest.NewKeys("fresh")
				if err := fresh.Load(); err != nil {
					b.Fatal(err)
				}
				config.Generate = fresh.Make
				b.StartTimer()
				summary, err := crypto.Regenerate(b.Context(), config)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(summary.BytesRead)
				b.ReportMetric(float64(c.Keys), "etcd-keys")
				for _, stage := range summary.Timings {
					b.ReportMetric(stage.Duration.Seconds()*1000, strings.ReplaceAll(stage.Stage, " ", "-")+"-ms")
				}
			}
		})
	}
}
