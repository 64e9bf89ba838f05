def distance_to_ring(fake, real):
    return (fake.norm(dim=1) - 1).abs().mean()


def spread(fake, real):
    return fake.std()
