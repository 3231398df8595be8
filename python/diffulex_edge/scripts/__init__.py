"""Programs: python -m diffulex_edge.scripts.export_model"""
