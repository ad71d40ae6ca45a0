package keystore

import (
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

// rc2 is the cipher of RFC 2268. It is worth nothing, but older OpenSSL and Java hide certificates with it (RC2-40), and
// a program that reads such a store may understand no other.
type rc2 struct{ k [64]uint16 }

// piTable is the permutation of section 2 of the RFC.
var piTable, _ = hex.DecodeString("" +
	"d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2" +
	"179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82" +
	"54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626" +
	"6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7" +
	"08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec" +
	"c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731" +
	"2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9" +
	"0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad")

// newRC2 expands a key (section 2), all of whose bits are effective.
func newRC2(key []byte) cipher.Block {
	var l [128]byte
	n := copy(l[:], key)
	for i := n; i < 128; i++ {
		l[i] = piTable[l[i-1]+l[i-n]]
	}
	l[128-n] = piTable[l[128-n]]
	for i := 127 - n; i >= 0; i-- {
		l[i] = piTable[l[i+1]^l[i+n]]
	}
	c := &rc2{}
	for i := range c.k {
		c.k[i] = binary.LittleEndian.Uint16(l[2*i:])
	}
	return c
}

func (c *rc2) BlockSize() int { return 8 }

var rc2Rotations = [4]int{1, 2, 3, 5}

// Rounds of mixing, between which the words are mashed (section 3.4).
var rc2Rounds = [3]int{5, 6, 5}

func (c *rc2) Encrypt(dst, src []byte) {
	var r [4]uint16
	for i := range r {
		r[i] = binary.LittleEndian.Uint16(src[2*i:])
	}
	j := 0
	for part, rounds := range rc2Rounds {
		if part > 0 {
			for i := range r {
				r[i] += c.k[r[(i+3)%4]&63]
			}
		}
		for range rounds {
			for i := range r {
				a, b, d := r[(i+3)%4], r[(i+2)%4], r[(i+1)%4]
				r[i] = bits.RotateLeft16(r[i]+c.k[j]+a&b+^a&d, rc2Rotations[i])
				j++
			}
		}
	}
	for i := range r {
		binary.LittleEndian.PutUint16(dst[2*i:], r[i])
	}
}

func (c *rc2) Decrypt(dst, src []byte) {
	var r [4]uint16
	for i := range r {
		r[i] = binary.LittleEndian.Uint16(src[2*i:])
	}
	j := len(c.k) - 1
	for part := len(rc2Rounds) - 1; part >= 0; part-- {
		for range rc2Rounds[part] {
			for i := 3; i >= 0; i-- {
				a, b, d := r[(i+3)%4], r[(i+2)%4], r[(i+1)%4]
				r[i] = bits.RotateLeft16(r[i], -rc2Rotations[i]) - c.k[j] - a&b - ^a&d
				j--
			}
		}
		if part > 0 {
			for i := 3; i >= 0; i-- {
				r[i] -= c.k[r[(i+3)%4]&63]
			}
		}
	}
	for i := range r {
		binary.LittleEndian.PutUint16(dst[2*i:], r[i])
	}
}
