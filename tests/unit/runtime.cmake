dlx_unit_test(test_runtime MODULES base format graph kernels runtime backends_xnnpack)
dlx_unit_test(test_session MODULES base format graph kernels runtime engine backends_xnnpack LABELS threads)
dlx_unit_test(test_raise MODULES base format graph kernels runtime backends_xnnpack)
dlx_unit_test(test_import MODULES base format graph kernels runtime backends_xnnpack)
