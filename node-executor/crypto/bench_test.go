package crypto_test

import (
	stdcrypto "crypto"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// Sizes of a single-node cluster: 145 TLS secrets, 122 bundles and 128 public roots are counted from OpenShift's TLS
// registry; tokens, revisions and bystanders are estimates.
const (
	benchAuthorities = 20
	benchPairs       = 125
	benchBundles     = 122
	benchRoots       = 128
	benchRootCopies  = 28
	benchTokens      = 500
	benchRevisions   = 5
	benchBystanders  = 3000
)

// single is a generated tree of the size of a single-node cluster's material.
func single(b *testing.B) tree {
	w := tree{}
	var authorities []cryptotest.Pair
	for i := range benchAuthorities {
		a := cryptotest.Authority(b, fmt.Sprint("authority-", i), cryptotest.RSA(b, 1000+i))
		authorities = append(authorities, a)
		w[fmt.Sprintf("authorities/%d/tls.crt", i)], w[fmt.Sprintf("authorities/%d/tls.key", i)] = a.PEM(), a.KeyPEM()
	}
	for i := range benchPairs {
		leaf := authorities[i%benchAuthorities].Leaf(b, fmt.Sprint("leaf-", i), cryptotest.EC(b), cryptotest.Names("host.example"))
		for revision := range benchRevisions {
			dir := fmt.Sprintf("pod-%d/%d/", revision, i)
			w[dir+"tls.crt"], w[dir+"tls.key"] = leaf.PEM(), leaf.KeyPEM()
		}
	}
	for i := range benchBundles {
		text := ""
		for j := range 3 {
			text += authorities[(i+j)%benchAuthorities].PEM()
		}
		w[fmt.Sprintf("bundles/%d.pem", i)] = text
	}
	roots := ""
	for i := range benchRoots {
		roots += cryptotest.Authority(b, fmt.Sprint("public-", i), cryptotest.EC(b)).PEM()
	}
	for i := range benchRootCopies {
		w[fmt.Sprintf("trusted/%d.pem", i)] = roots
	}
	account := cryptotest.RSA(b, 2000)
	w["account.key"] = cryptotest.KeyPEM(account)
	for i := range benchTokens {
		w[fmt.Sprintf("tokens/%d", i)] = cryptotest.Token(b, account, fmt.Sprint("account-", i))
	}
	for i := range benchBystanders {
		w[fmt.Sprintf("bystanders/%d", i)] = fmt.Sprintf("%8000d words that mean nothing", i)
	}
	return w
}

// What everything but the generation of keys costs, on a tree of a single-node cluster's size.
func BenchmarkRegenerate(b *testing.B) {
	w := single(b)
	external := plan.Rules{External: []string{"file:/etc/trusted/"}}
	var size int64
	for _, content := range w {
		size += int64(len(content))
	}
	for i := range benchAuthorities + 1 { // made before the clock starts
		cryptotest.RSA(b, 3000+i)
	}
	b.SetBytes(size)
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		dir := w.write(b)
		var next atomic.Int64
		config := crypto.Config{
			Roots: []files.Root{{Host: dir, Node: "/etc"}}, Rules: external, Journal: filepath.Join(b.TempDir(), "journal"),
			Generate: func(a pki.Algorithm) (stdcrypto.Signer, error) {
				if a.Name == "RSA" {
					return cryptotest.RSA(b, 2999+int(next.Add(1))), nil
				}
				return pki.Generate(a)
			},
		}
		b.StartTimer()
		summary, err := crypto.Regenerate(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		for _, stage := range summary.Timings {
			b.ReportMetric(stage.Duration.Seconds()*1000, stage.Stage+"-ms")
		}
	}
}
