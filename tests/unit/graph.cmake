dlx_unit_test(test_graph MODULES base graph)
dlx_unit_test(test_graph_ranges MODULES base graph)
