"""The runbook language: spec, loader, hashes, expressions, plans and the engine that advances an execution.

Pure: no I/O, no clock, no randomness; time and ids arrive as arguments. The command line, the catalog and the
executor share it, so what was linted is what is published and what is carried out.

    text ──loader.load──► Loaded(spec, source, spec_hash) ──planning.make_plan──► Plan
    Plan, frame ──rendering.render_action──► RenderedAction (bytes, action_hash)
    advance(spec, frame, facts) ──► (frame, effects)
"""
