mod batch; mod condition; mod modifier; mod diagnostic; mod number; mod fold; mod yaml; mod pattern; mod literal; mod test;
