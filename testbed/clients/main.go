// Clients that are not ours: what client-go and net/http do when they meet the extension server.
//
// Each subcommand plays one client and says on stdout, in lines of JSON, what it saw. What client-go itself complains
// about goes to stderr, where the tests look for it. Nothing here decides whether an answer was right.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	commands := map[string]func([]string) error{
		"informer": runInformer,
		"lister":   runLister,
		"openapi":  runOpenAPI,
		"versions": runVersions,
		"rude":     runRude,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clients informer|lister|openapi|versions|rude [FLAG…]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

var said sync.Mutex

// say prints one line; lines of several goroutines do not mix.
func say(line any) {
	said.Lock()
	defer said.Unlock()
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "clients: say:", err)
		os.Exit(1)
	}
}

// request is one request that client-go made, and how it was answered.
type request struct {
	Verb  string `json:"verb"`
	Query string `json:"query"`
	Code  int    `json:"code"`
}

// connect reads a kubeconfig. Each answered request is said, so that a test sees how a client came by what it holds.
func connect(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	// The client's own brake would only slow the tests down.
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(asked *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(asked)
			if err == nil {
				verb := "list"
				if asked.URL.Query().Has("watch") {
					verb = "watch"
				}
				say(map[string]request{"request": {verb, asked.URL.RawQuery, answer.StatusCode}})
			}
			return answer, err
		})
	})
	return config, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(asked *http.Request) (*http.Response, error) { return f(asked) }

// parseResource reads GROUP/VERSION/PLURAL.
func parseResource(text string) (schema.GroupVersionResource, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return schema.GroupVersionResource{}, fmt.Errorf("'%s' is not GROUP/VERSION/PLURAL", text)
	}
	return schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}, nil
}

// entry is what tells one state of an object from all others.
type entry struct {
	Object  string `json:"object"`
	UID     string `json:"uid"`
	Version string `json:"version"`
}

func entryOf(object metav1.Object) entry {
	return entry{object.GetNamespace() + "/" + object.GetName(), string(object.GetUID()), object.GetResourceVersion()}
}

// refusal is an error in client-go's own reading of it.
type refusal struct {
	Code       int    `json:"code"`
	Reason     string `json:"reason"`
	Message    string `json:"message"`
	Expired    bool   `json:"expired"`
	TooLarge   bool   `json:"tooLarge"`
	RetryAfter int    `json:"retryAfter"`
}

func refusalOf(err error) (refusal, error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return refusal{}, err
	}
	told := status.Status()
	retryAfter, _ := apierrors.SuggestsClientDelay(err)
	return refusal{
		Code:       int(told.Code),
		Reason:     string(told.Reason),
		Message:    told.Message,
		Expired:    apierrors.IsResourceExpired(err),
		TooLarge:   apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge),
		RetryAfter: retryAfter,
	}, nil
}
