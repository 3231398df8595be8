dlx_unit_test(test_graph MODULES base graph)
