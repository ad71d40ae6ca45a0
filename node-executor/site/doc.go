// Package site is what makes a cluster and its node these and no others: names, ids, addresses, credentials, the keys
// that clients trust, and what the user wants to find again. A seed image brings another cluster's; an upgrade takes
// the site's along.
//
//	[Collect]     before the pivot: from the cluster's own API and the node's disk, one collector a file
//	[Site.Save]   into the state directory, which both roots see; never anywhere else: it holds secrets
//	[Learn]       in the new root, offline: what the seed is called
//	[Site.Rules]  how the cryptography engine turns the seed's names into the site's, and which keys it keeps
//	[Site.Offline], [Site.Online]  the rest, before and after the cluster starts
//
// Errors name what is missing, never what was found.
package site
