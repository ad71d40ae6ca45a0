module github.com/reroot-dev/reroot/node-executor/heap

go 1.26
