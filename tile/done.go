package tile

// A Done ends work early when it is closed. One of nil never does.
type Done <-chan struct{}

// Over reports whether the work is to end. Workers ask between two steps, some tens of
// microseconds apart where there are vectors. It is inlined, and a comparison where there is no
// channel.
func (d Done) Over() bool { return d != nil && closed(d) }

// closed reports whether a channel that nobody sends on is closed.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
