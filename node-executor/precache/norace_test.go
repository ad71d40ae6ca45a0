//go:build !race

package precache_test

const parallel = 4
