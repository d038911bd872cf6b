"""Several methods as one."""

from ..interventions import Intervention


class Combined(Intervention):
    """Several methods as one, in order; the last one that names an evaluated network decides."""

    def __init__(self, parts: list[Intervention]):
        self.parts = parts
        self.pretrained = all(part.pretrained for part in parts)
        self.augmentation = next((part.augmentation for part in reversed(parts) if part.augmentation), None)
        self.head_draw = max(part.head_draw for part in parts)
        self.predicts, self.reshapes = (any(getattr(part, name) for part in parts) for name in ("predicts", "reshapes"))

    def reshape(self, model, head):
        """Each part in turn."""
        for part in self.parts:
            part.reshape(model, head)

    def prepare(self, model, start):
        """Each part in turn."""
        return [row for part in self.parts for row in part.prepare(model, start)]

    def penalty(self, model, logits, images):
        """The sum of the parts' penalties, or None where there is none."""
        terms = [term for part in self.parts if (term := part.penalty(model, logits, images)) is not None]
        return sum(terms) if terms else None

    def after_step(self, step):
        """Each part in turn."""
        for part in self.parts:
            part.after_step(step)

    def after_epoch(self, epoch):
        """Each part in turn."""
        for part in self.parts:
            part.after_epoch(epoch)

    def evaluated(self, model):
        """Each part sees the previous part's network."""
        for part in self.parts:
            model = part.evaluated(model)
        return model

    def state_dict(self):
        """The parts' states, by position."""
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def load_state_dict(self, state):
        """Each part takes its own."""
        for i, part in enumerate(self.parts):
            part.load_state_dict(state[str(i)])
