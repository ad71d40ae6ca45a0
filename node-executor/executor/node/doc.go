// Package node joins the executor's parts on a real node: it reads node.yaml ([Load]), and gives the steps what they ask
// for from the packages that have it: ostree and systemd from host, imports from seedimage, images from precache,
// identity from site, keys from crypto, and the node's own API server. There is one small adapter a file and no logic
// beyond that.
package node
