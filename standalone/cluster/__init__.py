"""The engine on many machines, by Ray: replicas for `serve --ray`, an actor pool for `batch --ray`. See docs/scale.md."""
