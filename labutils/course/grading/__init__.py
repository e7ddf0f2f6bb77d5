"""A class graded from its hand-ins: what runs show, exercises do, answers say. Door: `command`."""
