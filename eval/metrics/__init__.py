"""One file per metric: paths, arrays and strings in, nothing imported from outside this folder."""
