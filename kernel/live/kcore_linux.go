package live

import (
	"errors"
	"os"
	"sync"
)

// kcoreFile is /proc/kcore for several readers at a time. The kernel copies
// what is read through a buffer that belongs to the open file, without a lock
// (fs/proc/kcore.c, file->private_data): two that read one open file at once
// get parts of each other's pages. So each read has a file of its own.
type kcoreFile struct {
	name string

	mu   sync.Mutex
	wake sync.Cond // a file has become free
	free []*os.File
	all  []*os.File
}

func newKcoreFile(first *os.File) *kcoreFile {
	k := &kcoreFile{name: first.Name(), free: []*os.File{first}, all: []*os.File{first}}
	k.wake.L = &k.mu
	return k
}

// ReadAt implements io.ReaderAt.
func (k *kcoreFile) ReadAt(b []byte, off int64) (int, error) {
	f := k.take()
	defer k.give(f)
	return f.ReadAt(b, off)
}

// take returns a file that nobody uses: a new one if there is none. Where no
// more can be opened it waits for one.
func (k *kcoreFile) take() *os.File {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.free) == 0 {
		if f, err := os.Open(k.name); err == nil {
			k.all = append(k.all, f)
			return f
		}
	}
	for len(k.free) == 0 {
		k.wake.Wait()
	}
	f := k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	return f
}

func (k *kcoreFile) give(f *os.File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.free = append(k.free, f)
	k.wake.Signal()
}

// Close closes all files. No read may be under way.
func (k *kcoreFile) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var err error
	for _, f := range k.all {
		err = errors.Join(err, f.Close())
	}
	return err
}
