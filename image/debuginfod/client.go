// Package debuginfod gets programs, libraries and their debug information from
// debuginfod servers, by build id, and keeps them in the cache that elfutils and
// gdb use, too: $DEBUGINFOD_CACHE_PATH, else debuginfod_client in the user's
// cache folder.
//
// It follows debuginfod-find(1) and debuginfod-client-config(7): the variables
// DEBUGINFOD_URLS, DEBUGINFOD_CACHE_PATH, DEBUGINFOD_TIMEOUT, DEBUGINFOD_MAXTIME
// and DEBUGINFOD_MAXSIZE, and the cache's files that say when it is cleaned.
// Source files are not asked for, and signatures (ima:enforcing) cannot be
// checked: servers that need them are left out.
package debuginfod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a Client does in all.
const (
	maxRequests = 1000
	maxTime     = 3 * time.Minute
	maxBytes    = 2 << 30
	maxFile     = 1 << 30 // of one file, where DEBUGINFOD_MAXSIZE does not say it
)

const (
	dialTime    = 5 * time.Second
	stallTime   = 90 * time.Second // as DEBUGINFOD_TIMEOUT has it by default
	stallBytes  = 100 << 10        // that have to come in that time
	minBuildID  = 8                // bytes; shorter ones name too many files
	maxBuildID  = 64
	buildIDPath = "/buildid/"
)

// Client asks servers. It is for one goroutine at a time.
type Client struct {
	servers []string
	others  bool // there are servers that must not be asked
	cache   cache
	http    *http.Client
	ctx     context.Context
	stall   time.Duration
	perFile time.Duration // 0: no bound of its own
	maxFile int64

	deadline time.Time // of all requests; zero: nothing was asked yet
	requests int
	left     int64 // bytes
	dead     map[string]bool
	failures int
	failure  error // the first
}

// New returns a client as the environment wants it, nil if it names no server.
// A context that is done ends what the client does.
func New(ctx context.Context, getenv func(string) string) *Client {
	c := &Client{ctx: ctx, cache: newCache(getenv), stall: seconds(getenv("DEBUGINFOD_TIMEOUT"), stallTime),
		perFile: seconds(getenv("DEBUGINFOD_MAXTIME"), 0), maxFile: maxFile, left: maxBytes, dead: map[string]bool{}}
	if n, err := strconv.ParseInt(getenv("DEBUGINFOD_MAXSIZE"), 10, 64); err == nil && n > 0 {
		c.maxFile = n
	}
	enforced := false
	for _, word := range strings.Fields(getenv("DEBUGINFOD_URLS")) {
		if policy, ok := strings.CutPrefix(word, "ima:"); ok {
			enforced = policy == "enforcing"
			continue
		}
		if enforced {
			c.others = true
			c.fail(fmt.Errorf("%s is not asked: signatures cannot be checked (ima:enforcing)", host(word)))
			continue
		}
		c.servers = append(c.servers, strings.TrimSuffix(strings.TrimSuffix(word, "/"), strings.TrimSuffix(buildIDPath, "/")))
	}
	if len(c.servers) == 0 && !c.others {
		return nil
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout: 2 * dialTime, ResponseHeaderTimeout: c.stall, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1}
	t.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	c.http = &http.Client{Transport: t, CheckRedirect: redirect}
	return c
}

// redirect follows servers to other servers, not to files of this machine.
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) >= 10 || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return errors.New("redirected too often or to no server")
	}
	return nil
}

func seconds(s string, otherwise time.Duration) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 1<<30 {
		return time.Duration(n) * time.Second
	}
	return otherwise
}

// Warnings says in one line what could not be had, if anything. That no server
// has a file is no failure.
func (c *Client) Warnings() []string {
	switch {
	case c.failures == 0:
		return nil
	case c.failures == 1:
		return []string{fmt.Sprintf("debuginfod: %v", c.failure)}
	}
	return []string{fmt.Sprintf("debuginfod: %v; %d failures in all", c.failure, c.failures)}
}

func (c *Client) fail(err error) {
	c.failures++
	if c.failure == nil {
		c.failure = err
	}
}

// errSpent means that a Client has done all that it may.
var errSpent = fmt.Errorf("no more is asked for after %v, %d requests or %d GiB", maxTime, maxRequests, maxBytes>>30)

// Fetch returns the path of the file of a build id, "" if it is not to be had.
// kind is "executable" or "debuginfo". What comes from a server must fit before
// it gets into the cache.
func (c *Client) Fetch(id []byte, kind string, fits func(path string) error) string {
	if len(id) < minBuildID || len(id) > maxBuildID {
		return ""
	}
	name := fmt.Sprintf("%x", id)
	path, missing, err := c.cache.find(name, kind)
	if err != nil {
		c.fail(err)
	}
	if path != "" || missing || err != nil {
		return path
	}
	nobody := !c.others // every server has said that there is none
	for _, server := range c.servers {
		if c.dead[server] {
			nobody = false
			continue
		}
		path, err := c.get(server, name, kind, fits)
		if err == nil {
			return path
		}
		if errors.Is(err, errNotThere) {
			continue
		}
		nobody = false
		if err != errSpent || !errors.Is(c.failure, errSpent) {
			c.fail(err)
		}
		if err == errSpent {
			return ""
		}
	}
	if nobody {
		c.cache.miss(name, kind)
	}
	return ""
}

// errNotThere means that a server has no such file.
var errNotThere = errors.New("not there")

// get gets a file from a server.
func (c *Client) get(server, name, kind string, fits func(string) error) (path string, err error) {
	if c.deadline.IsZero() {
		c.deadline = time.Now().Add(maxTime)
	}
	if c.requests++; c.requests > maxRequests || c.left <= 0 || time.Now().After(c.deadline) {
		return "", errSpent
	}
	ctx, stop := context.WithCancelCause(c.ctx)
	defer stop(nil)
	ctx, cancel := context.WithDeadlineCause(ctx, c.deadline, errSpent)
	defer cancel()
	if c.perFile > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, c.perFile, fmt.Errorf("it took longer than %v (DEBUGINFOD_MAXTIME)", c.perFile))
		defer cancel()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+buildIDPath+name+"/"+kind, nil)
	if err != nil {
		c.dead[server] = true
		return "", errors.New("a word of DEBUGINFOD_URLS is no address of a server") // which may hold a password
	}
	request.Header.Set("User-Agent", "procdump")
	response, err := c.http.Do(request)
	if err != nil {
		return "", c.give(ctx, server, err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotFound:
		return "", errNotThere
	case response.StatusCode != http.StatusOK:
		return "", fmt.Errorf("ask %s: %s", host(server), response.Status)
	}
	limit := min(c.maxFile, c.left)
	if response.ContentLength > limit {
		return "", fmt.Errorf("the %s of build id %s has %d bytes: more than %d are not fetched (DEBUGINFOD_MAXSIZE)",
			kind, name, response.ContentLength, limit)
	}
	body := &watched{r: response.Body, stall: c.stall}
	body.stop = time.AfterFunc(c.stall, func() {
		stop(fmt.Errorf("fewer than %d KiB came in %v (DEBUGINFOD_TIMEOUT)", stallBytes>>10, c.stall))
	})
	defer body.stop.Stop()
	path, n, err := c.cache.put(name, kind, io.LimitReader(body, limit+1), limit, fits)
	c.left -= n
	switch {
	case err == nil:
		return path, nil
	case ctx.Err() != nil:
		return "", c.give(ctx, server, err)
	}
	return "", fmt.Errorf("fetch the %s of build id %s from %s: %w", kind, name, host(server), err)
}

// give gives a server up that does not answer, and says why.
func (c *Client) give(ctx context.Context, server string, err error) error {
	c.dead[server] = true
	var u *url.Error
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else if errors.As(err, &u) {
		err = u.Err // it names the address, with its password
	}
	if err == errSpent {
		return err
	}
	return fmt.Errorf("ask %s: %w; it is not asked again", host(server), err)
}

// host is a server's name, without the password that its address may hold.
func host(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "a server"
	}
	return cmp.Or(u.Host, u.Path)
}

// watched is a body that must keep coming.
type watched struct {
	r     io.Reader
	stop  *time.Timer
	stall time.Duration
	n     int // bytes since the timer was set
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.n += n; w.n >= stallBytes {
		w.n = 0
		w.stop.Reset(w.stall)
	}
	return n, err
}
