package html

import (
	"testing"
	"time"
)

// TestPage uses the report as a person does, in a browser.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	for _, c := range []struct {
		name string
		use  func(*testing.T, *browser)
	}{
		{"threads", useThreads}, {"search", useSearch}, {"flame", useFlame}, {"map", useMap},
		{"looks", looks}, {"hostile", useHostile}, {"nothing", useNothing}, {"crowd", useCrowd},
	} {
		t.Run(c.name, func(t *testing.T) {
			outer := b.t
			b.t = t
			defer func() { b.t = outer }()
			c.use(t, b)
			b.quiet()
		})
	}
}

const openStacks = `document.querySelectorAll(".group[open]").length`

// useThreads expands and collapses stacks, by mouse and by keys.
func useThreads(t *testing.T, b *browser) {
	b.open(written(t, sample()))
	b.want(openStacks, 1)
	b.click("#group1 summary")
	b.want(openStacks, 2)
	b.click("#collapse")
	b.want(openStacks, 0)
	b.press("e")
	b.want(openStacks, 5)
	b.press("c")
	b.want(openStacks, 0)
	b.value(`document.activeElement.blur()`)
	b.press("j", "j", "j", "k", "Enter")
	b.want(`document.querySelector("#group1").open`, true)
	b.want(openStacks, 1)
	b.press("?")
	b.want(`document.querySelector("#help").open`, true)
	b.press("Escape")
	b.wait(`!document.querySelector("#help").open`)
}

const shownStacks = `document.querySelectorAll("#threads .group:not([hidden])").length`

// useSearch looks for a function, a thread, a file and for nothing.
func useSearch(t *testing.T, b *browser) {
	b.open(written(t, sample()))
	b.press("/")
	b.want(`document.activeElement.id`, "search")
	b.write("EVENTloop")
	b.wait(shownStacks + ` === 1`)
	b.want(`document.querySelector(".group:not([hidden])").id`, "group1")
	b.wait(`document.querySelector("#found").textContent === "20 threads, 0 goroutines, 0 other"`)
	b.wait(`document.querySelectorAll("#flame .hit").length === 1`)
	b.press("Enter", "Enter")
	b.want(`document.querySelector("#group1").open`, true)
	b.wait(`document.querySelectorAll("#group1 mark").length === 1`)
	b.press("/")
	b.write("libc.so")
	b.wait(shownStacks + ` === 3`)
	b.wait(`[...document.querySelectorAll("#modules tbody tr:not([hidden])")].length === 1`)
	b.want(`document.querySelector("#regions").open`, true)
	b.press("/")
	b.write("there is no such thing")
	b.wait(shownStacks + ` === 0`)
	b.want(`document.querySelector("#threads .none").hidden`, false)
	b.press("Escape")
	b.wait(shownStacks + ` === 3`)
	b.want(`document.querySelector("#regions").open`, false)
	b.want(`document.querySelectorAll("mark").length`, 0)
}

const (
	boxes = `document.querySelectorAll("#flame [role=treeitem]").length`
	// boxWidth is how wide the box of a function is, in parts of the graph.
	boxWidth = `((name) => { const e = [...document.querySelectorAll("#flame [role=treeitem]")].find((e) => e.ariaLabel.startsWith(name));
		return e ? Math.round(1000 * e.offsetWidth / document.querySelector("#flame").clientWidth) : 0; })`
)

// useFlame zooms the flame graph, by mouse and by keys.
func useFlame(t *testing.T, b *browser) {
	b.open(written(t, sample()))
	all := b.value(boxes)
	b.want(boxWidth+`("all threads")`, 1000)
	b.want(boxWidth+`("start_thread")`, 955) // 21 of 22
	b.want(boxWidth+`("_start")`, 45)
	b.want(boxWidth+`("eventLoop")`, 909)
	b.click(`#flame [aria-label^="_start"]`)
	b.want(boxWidth+`("_start")`, 1000)
	b.want(boxWidth+`("eventLoop")`, 0)
	b.want(`document.querySelector("#flameinfo").textContent`, "_start+0x4 in app: 1 thread, 4.5 %")
	b.want(`document.querySelectorAll("#flame .above").length`, 1)
	b.press("Escape")
	b.want(boxes, all)
	b.press("ArrowDown", "ArrowDown", "Enter") // what most threads have
	b.want(boxWidth+`("eventLoop")`, 1000)
	b.want(`document.activeElement.ariaLabel`, "eventLoop in app: 20 threads, 91 %")
	b.click("#flameout")
	b.want(boxes, all)
	b.click(`#graph [data-weight=cpu]`)
	b.want(boxWidth+`("_start")`, 877) // 1.5 s of 1.71
	b.want(`document.querySelector("#graph [data-weight=cpu]").ariaPressed`, "true")
	b.click(`[data-of=goroutines]`)
	b.want(boxWidth+`("all goroutines")`, 1000)
	b.want(boxWidth+`("__poll")`, 968) // 30 of 31
	b.want(`document.querySelector("#graph [data-weight=cpu]").disabled`, true)
	b.value(`document.activeElement.blur()`)
	b.press("g")
	b.want(`document.activeElement.getAttribute("role")`, "treeitem")
}

const zoomed = `Number(document.querySelector("#map .canvas").dataset.zoom)`

// useMap goes through the map of memory and zooms it.
func useMap(t *testing.T, b *browser) {
	b.open(written(t, sample()))
	b.want(`document.querySelectorAll("#map .canvas rect.all").length`, 4)
	b.want(`document.querySelectorAll("#map .canvas .faultmark").length`, 1)
	b.press("m", "ArrowRight", "ArrowRight")
	b.want(`document.querySelector("#map output").textContent.startsWith("0x600000–0x100600000  4 GiB, 1 GiB in RAM, rw-p, heap[heap]")`, true)
	b.press("Enter")
	b.wait(zoomed + ` > 1.2`)
	b.press("0")
	b.want(zoomed, 1)
	b.press("+", "+")
	b.want(zoomed, 4)
	b.press("Escape")
	b.click(`[data-scale=linear]`)
	width := `((i) => document.querySelectorAll("#map .canvas rect.all")[i].width.baseVal.value)`
	b.want(width+`(1) > 100 * `+width+`(2)`, true)
	b.click(`[data-zoom=in]`)
	b.want(zoomed, 2)
	b.click(`[data-zoom=all]`)
	b.want(zoomed, 1)
}

// looks takes pictures, and wants that light and dark differ, that nothing is
// wider than a narrow window, and that all stacks are on paper.
func looks(t *testing.T, b *browser) {
	b.open(written(t, sample()))
	colour := `getComputedStyle(document.body).backgroundColor`
	b.scheme("light")
	light := b.value(colour)
	b.want(`document.querySelector(".links").scrollWidth - document.querySelector(".links").clientWidth`, 0)
	b.want(`document.querySelectorAll("#arenas tbody tr").length`, 2)
	b.picture("light")
	b.scheme("dark")
	if b.value(colour) == light {
		t.Error("light and dark are the same")
	}
	b.picture("dark")
	b.scheme("light")
	b.size(420, 900)
	b.wait(`innerWidth === 420`)
	b.want(`document.documentElement.scrollWidth`, 420)
	b.picture("narrow")
	b.size(1400, 1000)
	b.value(`dispatchEvent(new Event("beforeprint"))`)
	b.want(openStacks, 5)
	b.value(`dispatchEvent(new Event("afterprint"))`)
	b.want(openStacks, 1)
}

// useHostile wants that no text of the dump became a script.
func useHostile(t *testing.T, b *browser) {
	b.open(written(t, hostile()))
	b.press("e")
	b.want(openStacks, 5)
	b.press("/")
	b.write("harmed")
	b.wait(shownStacks + ` === 3 && document.querySelectorAll("mark").length > 0`)
	b.press("Escape", "g", "ArrowDown", "Enter")
	b.press("m", "ArrowRight", "Enter")
	b.want(`typeof window.harmed`, "undefined")
	b.want(`document.scripts.length + document.images.length`, 1)
	// The policy holds even for a script that were there.
	b.value(`(() => { const s = document.createElement("script"); s.textContent = "window.harmed = 1"; document.body.append(s); })()`)
	b.want(`typeof window.harmed`, "undefined")
	b.mu.Lock()
	b.problems = nil // the policy's word on that
	b.mu.Unlock()
}

// useNothing opens a report that has nothing in it.
func useNothing(t *testing.T, b *browser) {
	r := sample()
	r.Groups, r.Memory.Map, r.Memory.Regions = nil, nil, 0
	b.open(written(t, r))
	b.press("e", "j", "g", "m", "/")
	b.write("x")
	b.wait(`document.querySelector("#found").textContent !== ""`)
}

// useCrowd opens a process of 1,000 threads of which no two do the same.
func useCrowd(t *testing.T, b *browser) {
	page := written(t, crowd(1000))
	begin := time.Now()
	b.open(page)
	opened := time.Since(begin)
	begin = time.Now()
	b.press("/")
	b.write("method29")
	b.wait(shownStacks + ` === 1000`)
	searched := time.Since(begin)
	begin = time.Now()
	b.press("Escape", "g", "ArrowDown", "Enter")
	b.wait(boxes + ` > 10`)
	t.Logf("%d bytes: opened in %v, searched in %v, zoomed in %v", len(page), opened, searched, time.Since(begin))
	b.want(`document.querySelectorAll("#map .canvas rect").length < 5000`, true)
}
