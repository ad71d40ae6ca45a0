package staticpod_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// behaviour is the variable by which a manifest tells this test binary, when it
// runs as a container's image, what to do.
const behaviour = "STATICPOD_TEST_BEHAVIOUR"

func TestMain(m *testing.M) {
	if what := os.Getenv(behaviour); what != "" {
		os.Exit(behave(what))
	}
	goleak.VerifyTestMain(m)
}

// behave is the container's process. Its output goes to the pod's log.
func behave(what string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch what {
	case "run": // says how it was started, ends when asked
		fmt.Printf("started %q in %s with %s\n", os.Args, workingDirectory(), os.Getenv("GREETING"))
		<-term
		fmt.Println("stopped", os.Args)
	case "fail": // says when it was started, ends at once
		fmt.Println(time.Now().UnixMilli())
		return 3
	case "cling": // starts a process that serves, and neither ends when asked
		child := exec.Command("/proc/self/exe")
		child.Env = []string{behaviour + "=serve", "ADDRESS=" + os.Getenv("ADDRESS")}
		if err := child.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		for range term {
			fmt.Println("asked to end")
		}
	case "serve": // holds a port, ends when asked
		listener, err := net.Listen("tcp", os.Getenv("ADDRESS"))
		if err != nil {
			return 1
		}
		defer func() { _ = listener.Close() }()
		<-term
	}
	return 0
}

func workingDirectory() string {
	dir, err := os.Getwd()
	if err != nil {
		return err.Error()
	}
	return dir
}
