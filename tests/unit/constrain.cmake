dlx_unit_test(test_constrain MODULES base constrain LABELS portable)
dlx_unit_test(test_grammar MODULES base constrain LABELS portable)
dlx_unit_test(test_diffusion_constrained MODULES base constrain diffusion LABELS portable)
