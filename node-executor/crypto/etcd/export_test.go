package etcd

// ClearFreePages is for tests that have a database and no log.
var ClearFreePages = clearFreePages
