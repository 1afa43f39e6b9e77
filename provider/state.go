package provider

// State is what a provider holds at a moment.
type State struct {
	Processes   int   // attached ones that have greeted
	Resources   int   // open, of all services
	QueuedBytes int64 // held for them
}

// State returns what p holds now, for logs and tests. It looks at each resource,
// and waits for nothing.
func (p *Provider) State() State {
	s := State{Processes: p.greetedProcesses()}
	for r := range p.Resources() {
		_, bytes := r.Queued()
		s.Resources++
		s.QueuedBytes += bytes
	}
	return s
}

func (p *Provider) greetedProcesses() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for proc := range p.processes {
		if proc.greeted {
			n++
		}
	}
	return n
}
