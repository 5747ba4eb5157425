package main

import (
	"bufio"
	"context"
	"flag"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// page is one page of a list.
type page struct {
	Entries   []entry `json:"entries"`
	Version   string  `json:"version"`
	Remaining *int64  `json:"remaining"`
	Last      bool    `json:"last"`
}

// runLister reads a list page by page and says each. It asks for the next one when a line comes on stdin, so that a
// test can do something in between.
func runLister(arguments []string) error {
	flags := flag.NewFlagSet("lister", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "whom to ask, and as whom")
	resource := flags.String("resource", "", "GROUP/VERSION/PLURAL")
	namespace := flags.String("namespace", metav1.NamespaceAll, "all namespaces unless given")
	limit := flags.Int64("page", 500, "objects of a page")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	asker, err := askerFor(*kubeconfig, *resource, *namespace)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	options := metav1.ListOptions{Limit: *limit}
	for lines.Scan() {
		list, err := asker.List(context.Background(), options)
		if err != nil {
			told, err := refusalOf(err)
			if err != nil {
				return err
			}
			say(map[string]refusal{"refused": told})
			return nil
		}
		read := page{Entries: []entry{}, Version: list.GetResourceVersion(), Remaining: list.GetRemainingItemCount()}
		for index := range list.Items {
			read.Entries = append(read.Entries, entryOf(&list.Items[index]))
		}
		options.Continue = list.GetContinue()
		read.Last = options.Continue == ""
		say(map[string]page{"page": read})
		if read.Last {
			return nil
		}
	}
	return lines.Err()
}

// runVersions asks for a state of the past, or of the future, in each way that there is, and says what comes of it.
func runVersions(arguments []string) error {
	flags := flag.NewFlagSet("versions", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "whom to ask, and as whom")
	resource := flags.String("resource", "", "GROUP/VERSION/PLURAL")
	namespace := flags.String("namespace", metav1.NamespaceAll, "all namespaces unless given")
	version := flags.String("version", "", "the resource version")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	asker, err := askerFor(*kubeconfig, *resource, *namespace)
	if err != nil {
		return err
	}
	initial, seconds := true, int64(1)
	list := func(match metav1.ResourceVersionMatch) func() error {
		return func() error {
			_, err := asker.List(context.Background(), metav1.ListOptions{ResourceVersion: *version, ResourceVersionMatch: match})
			return err
		}
	}
	asks := map[string]func() error{
		"list Exact":        list(metav1.ResourceVersionMatchExact),
		"list NotOlderThan": list(metav1.ResourceVersionMatchNotOlderThan),
		"watch": func() error {
			return watchOnce(asker, metav1.ListOptions{ResourceVersion: *version, TimeoutSeconds: &seconds})
		},
		"watch list": func() error {
			return watchOnce(asker, metav1.ListOptions{
				ResourceVersion:      *version,
				SendInitialEvents:    &initial,
				AllowWatchBookmarks:  true,
				ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
				TimeoutSeconds:       &seconds,
			})
		},
	}
	// Side by side: a client that is asked to come back does so ten times before it tells.
	outcomes := make(chan error, len(asks))
	for name, ask := range asks {
		go func() { outcomes <- sayOutcome(name, ask()) }()
	}
	for range asks {
		if err := <-outcomes; err != nil {
			return err
		}
	}
	return nil
}

// watchOnce follows a watch to its end. A refusal may come instead of the watch, or as its last event.
func watchOnce(asker dynamic.ResourceInterface, options metav1.ListOptions) error {
	watching, err := asker.Watch(context.Background(), options)
	if err != nil {
		return err
	}
	defer watching.Stop()
	for event := range watching.ResultChan() {
		if event.Type == watch.Error {
			return apierrors.FromObject(event.Object)
		}
	}
	return nil
}

func sayOutcome(name string, outcome error) error {
	if outcome == nil {
		say(map[string]any{"asked": name, "served": true})
		return nil
	}
	told, err := refusalOf(outcome)
	if err != nil {
		return err
	}
	say(map[string]any{"asked": name, "refused": told})
	return nil
}

func askerFor(kubeconfig, resource, namespace string) (dynamic.ResourceInterface, error) {
	config, err := connect(kubeconfig)
	if err != nil {
		return nil, err
	}
	gvr, err := parseResource(resource)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return client.Resource(gvr).Namespace(namespace), nil
}
