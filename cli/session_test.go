package cli

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestOutage: -at counts from when the process stands still, not what is looked
// at before, and the wait of one that has been held already.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, o := newOutage(t.Context(), 2*time.Second)
		defer o.end()
		time.Sleep(time.Minute)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Fatalf("over before the process stood: %v", context.Cause(ctx))
		}
		o.begin(time.Now())
		time.Sleep(2*time.Second - time.Nanosecond)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Fatalf("over too early: %v", context.Cause(ctx))
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if context.Cause(ctx) != errTimeLimit {
			t.Errorf("after the limit: %v", context.Cause(ctx))
		}

		held, o2 := newOutage(t.Context(), 2*time.Second)
		defer o2.end()
		o2.begin(time.Now().Add(-time.Minute))
		synctest.Wait()
		if context.Cause(held) != errTimeLimit {
			t.Errorf("held for a minute: %v", context.Cause(held))
		}

		none, o3 := newOutage(t.Context(), 0)
		o3.begin(time.Now())
		time.Sleep(time.Hour)
		synctest.Wait()
		if none.Err() != nil {
			t.Errorf("without a limit: %v", context.Cause(none))
		}
		o3.end()
	})
}
