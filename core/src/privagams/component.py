"""What a plugin yields: a named, lazily built component, and how settings refer to another one."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

from attrs import field, frozen

T = TypeVar("T")


@frozen
class Component(Generic[T]):
    """A named offer of one role.

    `build` turns an instance of `settings` into the role's object; heavy imports belong inside it,
    so that listing plugins stays quick. A component without settings is built with None.
    """

    name: str
    """Kebab-case; what `use = "..."` selects. Outside labs prefix theirs: "mylab-nearest"."""
    summary: str
    """One sentence, shown by `privagams plugins`."""
    build: Callable[[Any], T]
    settings: type | None = None
    """A frozen attrs class: fields with types, defaults, validators as bounds, and `doc` metadata."""
    training: Literal["gradients", "summary"] | None = None
    """How a generator learns, or which such learning a mechanism protects; None for other roles. Stated here
    so that a pair that does not fit is refused before anything is built."""
    randomises: Literal["latents", "pixels"] | None = None
    """What a local mechanism randomises; None for everything else."""
    encodes: bool = False
    """Whether a generator's model is `Invertible`, as a mechanism on latents needs it."""


@frozen
class Use:
    """A reference, inside settings, to a component of another role: its name and its own settings.

    In TOML either `embedder = "texture"` or `embedder = { use = "weights", file = "net.safetensors" }`.
    """

    name: str
    settings: Mapping[str, Any] = field(factory=dict)
    """As written in TOML; configuration checks them against the component's settings class."""


def uses(role: str, default: str | None = None) -> Any:
    """Make a settings field of type `Use` that refers to a component of `role`, such as "embedders"."""
    metadata = {"role": role}
    if default is None:
        return field(metadata=metadata)
    return field(default=Use(default), metadata=metadata)
