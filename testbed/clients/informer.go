package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// runInformer keeps a shared informer until stdin ends. Each line on stdin asks for all that it holds.
//
// Whether it asks for WatchList is client-go's own switch, KUBE_FEATURE_WatchListClient in the environment.
func runInformer(arguments []string) error {
	flags := flag.NewFlagSet("informer", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "whom to ask, and as whom")
	resource := flags.String("resource", "", "GROUP/VERSION/PLURAL")
	namespace := flags.String("namespace", metav1.NamespaceAll, "all namespaces unless given")
	client := flags.String("client", "dynamic", "dynamic or metadata")
	page := flags.Int64("page", 500, "objects of a page where client-go asks for pages; 0 asks for the whole")
	watch := flags.Duration("watch", 0, "how long one watch lasts, instead of the minutes of client-go")
	resync := flags.Duration("resync", 0, "how often the store is told again to who listens")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	config, err := connect(*kubeconfig)
	if err != nil {
		return err
	}
	tweak := func(options *metav1.ListOptions) {
		if options.Limit > 0 {
			options.Limit = *page
		}
		if options.TimeoutSeconds != nil && *watch > 0 {
			seconds := int64(watch.Seconds())
			options.TimeoutSeconds = &seconds
		}
	}
	informer, err := buildInformer(config, *client, *resource, *namespace, *resync, tweak)
	if err != nil {
		return err
	}
	if _, err := informer.AddEventHandler(tell{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		informer.RunWithContext(ctx)
		close(done)
	}()
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			say(map[string]int{"synced": len(informer.GetStore().List())})
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		sayStore(informer)
	}
	cancel()
	<-done
	klog.Flush()
	return lines.Err()
}

func buildInformer(
	config *rest.Config,
	client, resource, namespace string,
	resync time.Duration,
	tweak func(*metav1.ListOptions),
) (cache.SharedIndexInformer, error) {
	gvr, err := parseResource(resource)
	if err != nil {
		return nil, err
	}
	switch client {
	case "dynamic":
		asker, err := dynamic.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return dynamicinformer.NewFilteredDynamicInformer(asker, gvr, namespace, resync, cache.Indexers{}, tweak).Informer(), nil
	case "metadata":
		asker, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return metadatainformer.NewFilteredMetadataInformer(asker, gvr, namespace, resync, cache.Indexers{}, tweak).Informer(), nil
	default:
		return nil, fmt.Errorf("no client is called '%s'", client)
	}
}

func sayStore(informer cache.SharedIndexInformer) {
	store := []entry{}
	for _, object := range informer.GetStore().List() {
		store = append(store, entryOf(object.(metav1.Object)))
	}
	sort.Slice(store, func(i, j int) bool { return store[i].Object < store[j].Object })
	say(map[string]any{"store": store, "version": informer.LastSyncResourceVersion()})
}

// tell says what a listener of an informer is told.
type tell struct{}

type event struct {
	Type string `json:"type"`
	entry
}

func (tell) OnAdd(object any, _ bool) {
	say(map[string]event{"event": {"ADDED", entryOf(object.(metav1.Object))}})
}

func (tell) OnUpdate(before, object any) {
	kind := "MODIFIED"
	if before.(metav1.Object).GetResourceVersion() == object.(metav1.Object).GetResourceVersion() {
		kind = "RESYNCED"
	}
	say(map[string]event{"event": {kind, entryOf(object.(metav1.Object))}})
}

func (tell) OnDelete(object any) {
	// The informer learned of it from a list: it missed how the object went.
	if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
		say(map[string]event{"event": {"MISSED", entryOf(missed.Obj.(metav1.Object))}})
		return
	}
	say(map[string]event{"event": {"DELETED", entryOf(object.(metav1.Object))}})
}
