"""What test_ray_cluster.py has answered, on a cluster and without one."""

OPTIONS = dict(key="id", seed=3, temperature=4.0, max_new_tokens=96, stop_ids="none", strategy="low_confidence_static",
               denoising_steps=8)


def rows():
    """Rows that take their time, some with the same prompt, and one with a prompt that does not fit."""
    words = "pear plum fig kiwi melon".split()
    return [{"id": i, "messages": [{"role": "user", "content": f"Spell {words[i % 5]}." if i != 7 else "x" * 6000}]}
            for i in range(120)]
